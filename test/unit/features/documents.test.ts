import { describe, expect, test } from "bun:test";

import type { DocumentPage } from "../../../src/core/subscribe/store.ts";
import { documentRoutes } from "../../../src/http/documents.ts";

const makeApp = (page: DocumentPage = { documents: [], next: null }) => {
  const asked: unknown[] = [];
  const app = documentRoutes({
    collection: "courses",
    store: {
      documents: async (...call) => {
        asked.push(call);
        return await Promise.resolve(page);
      },
      document: async (collection, id) => {
        asked.push([collection, id]);
        return await Promise.resolve(id === "here" ? { CourseId: id } : null);
      },
    },
  });
  const get = async (path: string) => {
    const response = await app.handle(new Request(`http://localhost${path}`));
    return { status: response.status, body: await response.json() };
  };
  return { asked, get };
};

describe("GET /courses", () => {
  test("answers the first hundred, and where to go on", async () => {
    const { asked, get } = makeApp({ documents: [{ CourseId: "a" }], next: "a" });
    expect(await get("/courses")).toEqual({ status: 200, body: { items: [{ CourseId: "a" }], next: "a" } });
    expect(asked).toEqual([["courses", null, 100]]);
  });

  test("goes on behind an id, which is always text", async () => {
    const { asked, get } = makeApp();
    await get("/courses?after=a%20b&limit=1000");
    await get("/courses?after=%7B%22%24gt%22%3A%22%22%7D&limit=1");
    await get("/courses?after[$gt]=");
    expect(asked).toEqual([
      ["courses", "a b", 1_000],
      ["courses", '{"$gt":""}', 1],
      ["courses", null, 100],
    ]);
  });

  for (const query of ["0", "1001", "-1", "1.5", "1e2", "0x10", "ten", "", "5&limit=6", "%20"]) {
    test(`refuses limit=${query}`, async () => {
      const { asked, get } = makeApp();
      expect(await get(`/courses?limit=${query}`)).toMatchObject({
        status: 400,
        body: { code: "invalid_request" },
      });
      expect(asked).toEqual([]);
    });
  }

  test("refuses an id to go on from that is given twice or far too long", async () => {
    const { get } = makeApp();
    expect(await get("/courses?after=a&after=b")).toMatchObject({ status: 400 });
    expect(await get(`/courses?after=${"a".repeat(1_025)}`)).toMatchObject({ status: 400 });
  });
});

describe("GET /courses/:id", () => {
  test("answers the document", async () => {
    expect(await makeApp().get("/courses/here")).toEqual({ status: 200, body: { CourseId: "here" } });
  });

  test("answers a problem when there is none", async () => {
    const { status, body } = await makeApp().get("/courses/gone");
    expect(status).toBe(404);
    expect(body).toMatchObject({ code: "not_found" });
    expect(await makeApp().get(`/courses/${"a".repeat(2_000)}`)).toMatchObject({ status: 404 });
  });

  test("takes the id as text, whatever it looks like", async () => {
    const { asked, get } = makeApp();
    await get("/courses/%7B%22%24ne%22%3Anull%7D");
    await get("/courses/9007199254740993");
    expect(asked).toEqual([
      ["courses", '{"$ne":null}'],
      ["courses", "9007199254740993"],
    ]);
  });
});
