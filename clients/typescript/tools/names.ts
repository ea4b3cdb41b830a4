/** What operations are called in the client: `PageService.ListPages` is `pages.list`. */

import type { Bound } from "./document.js";

export interface Named extends Bound {
  group: string;
  method: string;
}

/** Members that the client itself has. */
const RESERVED = new Set(["events", "session", "signIn", "signOut", "subscribe", "switchTenant"]);

/**
 * Names every operation. Groups of the same name in two domains, or named as a member of the client, have the domain in
 * front: `crmTickets`.
 */
export function named(operations: Bound[]): Named[] {
  const byTag = new Map<string, Bound[]>();
  for (const bound of operations) {
    const tag = bound.operation.tags[0] ?? "";
    byTag.set(tag, [...(byTag.get(tag) ?? []), bound]);
  }
  const groups = [...byTag].map(([tag, bounds]) => ({ tag, bounds, group: groupOf(tag, bounds) }));
  return groups.flatMap(({ tag, bounds, group }) => {
    const isTaken = RESERVED.has(group) || groups.some((other) => other.tag !== tag && other.group === group);
    return methodsOf(isTaken ? lowered(domainOf(tag)) + raised(group) : group, nounOf(tag), bounds);
  });
}

function methodsOf(group: string, noun: string, bounds: Bound[]): Named[] {
  const names = bounds.map(({ operation }) => rpcOf(operation.operationId));
  const short = names.map((name) => withoutNoun(name, noun));
  return bounds.map((bound, index) => {
    const name = short[index] ?? "";
    const isUnique = short.filter((other) => other === name).length === 1;
    return { ...bound, group, method: lowered(isUnique ? name : (names[index] ?? "")) };
  });
}

/** The plural of the noun where the service lists what it is named for, else the noun. */
function groupOf(tag: string, bounds: Bound[]): string {
  const noun = nounOf(tag);
  const names = new Set(bounds.map(({ operation }) => rpcOf(operation.operationId)));
  return lowered(pluralsOf(noun).find((plural) => names.has(`List${plural}`)) ?? noun);
}

/** A name of an RPC without the noun of its service: `RotateWebhookSecret` is `RotateSecret`. */
function withoutNoun(name: string, noun: string): string {
  for (const word of [...pluralsOf(noun), noun]) {
    const found = name.match(new RegExp(`^([A-Z].*?)${word}(?![a-z])(.*)$`));
    if (found !== null) {
      return `${found[1]}${found[2]}`;
    }
  }
  return name;
}

function pluralsOf(noun: string): string[] {
  const plurals = [`${noun}s`, `${noun}es`];
  return noun.endsWith("y") ? [...plurals, `${noun.slice(0, -1)}ies`] : plurals;
}

function rpcOf(operationId: string): string {
  return operationId.split(".")[1] ?? "";
}

function domainOf(tag: string): string {
  return tag.split(".")[0] ?? "";
}

function nounOf(tag: string): string {
  return (tag.split(".")[1] ?? "").replace(/Service$/, "");
}

function lowered(name: string): string {
  return name.slice(0, 1).toLowerCase() + name.slice(1);
}

function raised(name: string): string {
  return name.slice(0, 1).toUpperCase() + name.slice(1);
}
