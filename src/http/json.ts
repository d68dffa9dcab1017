//! JSON answers. Ids are bigints, which JSON.stringify refuses: they travel as text, because readers round large numbers.

const bigintAsText = (_name: string, value: unknown): unknown =>
  typeof value === "bigint" ? value.toString() : value;

export const json = (body: unknown, status = 200): Response =>
  new Response(`${JSON.stringify(body, bigintAsText)}\n`, {
    status,
    headers: { "content-type": "application/json; charset=utf-8" },
  });
