// Asks a server by reflection for its services and for the file of one, and prints what it finds.
import grpc from "@grpc/grpc-js";
import {GrpcReflection} from "grpc-js-reflection-client";

const [target, version] = process.argv.slice(2);
const client = new GrpcReflection(target, grpc.credentials.createInsecure(), {}, version);
const services = await client.listServices();
const methods = await client.listMethods("plinth.sites.v1.PageService");
const descriptor = await client.getDescriptorBySymbol("plinth.sites.v1.Page");
const {plinth} = descriptor.getPackageObject({keepCase: true});
console.log(JSON.stringify({
  services,
  methods: methods.map((method) => method.name),
  types: Object.keys(plinth.sites.v1),
}));
process.exit(0);
