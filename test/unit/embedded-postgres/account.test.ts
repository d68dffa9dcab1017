import { expect, test } from "bun:test";

import { pickAccount } from "../../../src/adapters/embedded-postgres/account.ts";

const root = "root:x:0:0:root:/root:/bin/bash";
const nobody = "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin";
const postgres = "postgres:x:101:104:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash";

test("root lends the server the postgres account when there is one, else nobody", () => {
  expect(pickAccount([root, nobody, postgres].join("\n"))).toEqual({ uid: 101, gid: 104 });
  expect(pickAccount([root, nobody].join("\n"))).toEqual({ uid: 65_534, gid: 65_534 });
});

test("no account is picked from a file without one, and never root under another name", () => {
  expect(pickAccount(`${root}\n\n`)).toBeUndefined();
  expect(pickAccount("nobody:x:0:0::/:/bin/sh")).toBeUndefined();
});
