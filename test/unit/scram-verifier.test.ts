import { expect, test } from "bun:test";

import { makeScramVerifier } from "../../src/adapters/postgres/migrate/scram-verifier.ts";
import { hasCode } from "../../src/core/errors.ts";

test("the verifier is the one of RFC 7677's example", () => {
  // Its password and salt; keys as any implementation derives them from those.
  const verifier = makeScramVerifier("pencil", Buffer.from("W22ZaJ0SNY7soEsUEjb6gQ==", "base64"));
  expect(verifier).toBe(
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
  );
});

test("no two verifiers are alike, though the password is", () => {
  expect(makeScramVerifier("pencil")).not.toBe(makeScramVerifier("pencil"));
});

test("a password on which clients could disagree is refused, without being shown", () => {
  for (const password of ["", "pässword", "tab\there"]) {
    let error: unknown;
    try {
      makeScramVerifier(password);
    } catch (thrown) {
      error = thrown;
    }
    expect(hasCode(error, "invalid_config")).toBeTrue();
    if (password !== "") expect(String(error)).not.toContain(password);
  }
});
