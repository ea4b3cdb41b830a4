// Loads every .proto of `protos/plinth` with @grpc/proto-loader, calls one RPC, and prints the services and the answer.
import {readdirSync} from "node:fs";
import grpc from "@grpc/grpc-js";
import {loadSync} from "@grpc/proto-loader";

const [target] = process.argv.slice(2);
const files = readdirSync("protos/plinth", {recursive: true}).filter((name) => name.endsWith(".proto"));
const definition = loadSync(files.map((name) => `plinth/${name}`), {includeDirs: ["protos"], enums: String});
const services = Object.keys(definition).filter((name) => !("format" in definition[name]));
const {plinth} = grpc.loadPackageDefinition(definition);
const client = new plinth.operations.v1.HealthService(target, grpc.credentials.createInsecure());
client.GetHealth({}, {deadline: Date.now() + 30_000}, (error, health) => {
  if (error) throw error;
  console.log(JSON.stringify({services, status: health.status}));
  client.close();
});
