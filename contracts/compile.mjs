// Compiles src/*.sol with the pinned compiler into build/NAME.json, or into the folder named as first argument.
// The same sources give the same bytes: no metadata hash is appended, and no path but the file's name is seen.
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const solc = require("solc");

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "build");
const sources = {};
for (const file of readdirSync(join(here, "src")).filter((f) => f.endsWith(".sol")).sort()) {
  sources[file] = { content: readFileSync(join(here, "src", file), "utf8") };
}

const input = {
  language: "Solidity",
  sources,
  settings: {
    evmVersion: "prague",
    optimizer: { enabled: true, runs: 1000 },
    metadata: { bytecodeHash: "none", appendCBOR: false },
    outputSelection: {
      "*": {
        "*": [
          "abi",
          "storageLayout",
          "evm.bytecode.object",
          "evm.deployedBytecode.object",
          "evm.deployedBytecode.immutableReferences",
        ],
      },
    },
  },
};

const output = JSON.parse(solc.compile(JSON.stringify(input)));
const problems = output.errors ?? [];
for (const p of problems) process.stderr.write(p.formattedMessage + "\n");
if (problems.length > 0) process.exit(1);

mkdirSync(out, { recursive: true });
for (const file of Object.keys(sources)) {
  const name = file.replace(/\.sol$/, "");
  const contract = output.contracts[file][name];
  if (Object.keys(contract.evm.deployedBytecode.immutableReferences).length > 0) {
    process.stderr.write(`${name} has immutables: its runtime code could not stand in a genesis block\n`);
    process.exit(1);
  }
  const storage = {};
  for (const v of contract.storageLayout.storage) storage[v.label] = { slot: Number(v.slot), offset: v.offset };
  const artifact = {
    compiler: solc.version(),
    abi: contract.abi,
    storage,
    creation: "0x" + contract.evm.bytecode.object,
    runtime: "0x" + contract.evm.deployedBytecode.object,
  };
  writeFileSync(join(out, name + ".json"), JSON.stringify(artifact, null, 1) + "\n");
}
