//! What PostgreSQL stores in place of a password. Made here, the password itself never travels in a statement and so
//! never stands in a server's log.

import { createHash, createHmac, pbkdf2Sync, randomBytes } from "node:crypto";

import { PgstreamError } from "../../../core/errors.ts";

// PostgreSQL's own choices (scram_iterations, SCRAM_DEFAULT_SALT_LEN).
const iterations = 4096;
const saltBytes = 16;
const keyBytes = 32;

/**
 * A verifier for SCRAM-SHA-256, as in RFC 5803: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
 * @throws PgstreamError `invalid_config` when clients could disagree on what the password is
 */
export const makeScramVerifier = (password: string, salt: Uint8Array = randomBytes(saltBytes)): string => {
  // Beyond these, SCRAM normalises text (SASLprep), which some clients do and others, the driver here among them, do not.
  if (!/^[\x20-\x7e]+$/.test(password)) {
    throw new PgstreamError(
      "invalid_config",
      "a password of a login must be one or more printable ASCII characters",
    );
  }
  const salted = pbkdf2Sync(password, salt, iterations, keyBytes, "sha256");
  const keyed = (text: string): Buffer => createHmac("sha256", salted).update(text).digest();
  const storedKey = createHash("sha256").update(keyed("Client Key")).digest("base64");
  const serverKey = keyed("Server Key").toString("base64");
  return `SCRAM-SHA-256$${iterations}:${Buffer.from(salt).toString("base64")}$${storedKey}:${serverKey}`;
};
