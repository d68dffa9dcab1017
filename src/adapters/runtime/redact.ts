//! Stars out secrets in text that is about to leave the process: passwords inside URLs, and the secrets it was given.

// Up to the last "@", whatever comes before: a password that should have been percent-encoded is one all the same.
const passwordInUrl = /([a-z][a-z0-9+.-]*:\/\/[^\s:@/"]*:)[^\s"]*@/gi;

// Shorter ones are words, such as the example's own `password`: starring them would make every sentence a riddle.
const secretLengthMin = 9;

/** The spellings under which a secret can turn up: as it is, inside a JSON string, inside a URL. */
const spellings = (secret: string): readonly string[] => [
  secret,
  JSON.stringify(secret).slice(1, -1),
  encodeURIComponent(secret),
];

const passwordOf = (secret: string): readonly string[] => {
  if (!URL.canParse(secret)) return [];
  const { password } = new URL(secret);
  try {
    return [password, decodeURIComponent(password)];
  } catch {
    return [password]; // it holds a stray "%", so nothing will have decoded it
  }
};

export const makeRedact = (secrets: readonly string[]): ((text: string) => string) => {
  const hidden = new Set(
    secrets
      .flatMap((it) => [it, ...passwordOf(it)])
      .filter((it) => it.length >= secretLengthMin)
      .flatMap((it) => spellings(it)),
  );
  // The longest first, so that no secret is torn apart by one that it contains.
  const inOrder = [...hidden].sort((a, b) => b.length - a.length);
  return (text) => {
    let clean = text;
    for (const secret of inOrder) clean = clean.replaceAll(secret, "***");
    return clean.replaceAll(passwordInUrl, "$1***@");
  };
};
