export type {
  Answer,
  Call,
  CallOptions,
  FileCall,
  ListCall,
  Schema,
  StreamCall,
  StreamOptions,
  UploadCall,
  UploadOptions,
} from "./calls.js";
export {
  Plinth,
  type PlinthOptions,
  type SignIn,
  type StepUp,
  type SubscribeOptions,
  type Subscription,
} from "./client.js";
export type { TokenSource } from "./credentials.js";
export { type ClientReason, type Code, PlinthError, type Reason, type Violation } from "./errors.js";
export type { EventData, Resources } from "./generated/resources.js";
export type { components, operations } from "./generated/schema.js";
export type { AnyEvent, EventPattern, EventStream, LiveEvent } from "./live.js";
export type { Paged } from "./paged.js";
export { memoryStore, type Session, type SessionStore, storageStore } from "./session.js";
export type { FileBody, Progress } from "./uploads.js";
