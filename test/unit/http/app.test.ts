import { describe, expect, test } from "bun:test";

import { Elysia, t, type AnyElysia } from "elysia";

import { PgstreamError } from "../../../src/core/errors.ts";
import type { Logger } from "../../../src/core/ports.ts";
import { makeApp, type AppDeps, type Part } from "../../../src/http/app.ts";
import type { Readiness } from "../../../src/http/health.ts";

const ready: Readiness = { ready: true, reason: null, details: {} };

const partOf = (name: string, routes: AnyElysia | null, status: () => Readiness = () => ready): Part => ({
  name,
  routes,
  status,
});

const logged: unknown[] = [];
const ignore = (): void => undefined;
const logger: Logger = {
  debug: ignore,
  info: ignore,
  warn: ignore,
  error: (fields) => logged.push(fields),
  child: () => logger,
};

const appOf = (parts: readonly Part[], deps: Partial<AppDeps> = {}) =>
  makeApp({ version: "1.2.3", logger, parts, obstacle: null, missing: null, ...deps });

const ask = async (app: AnyElysia, path: string, init: RequestInit = {}) => {
  const response = await app.handle(new Request(`http://localhost${path}`, init));
  const body: unknown = await response.json();
  return { status: response.status, headers: response.headers, body };
};

const secret = "postgres://postgres:hush@db/eventsdb";

const routes = new Elysia()
  .get("/throws", () => {
    throw new Error(secret);
  })
  .get("/rejects", async () => await Promise.reject(new Error(secret)))
  .get("/throws-text", () => {
    // oxlint-disable-next-line typescript/only-throw-error -- what a careless library might do
    throw secret;
  })
  .get("/throws-coded", () => {
    throw Object.assign(new Error(secret), { code: "NOT_FOUND" });
  })
  .get("/database", () => {
    throw new PgstreamError("database_unavailable", secret);
  })
  .get("/cursor", () => {
    throw new PgstreamError("invalid_cursor", "not a cursor");
  })
  .get("/limited", ({ query }) => query, { query: t.Object({ limit: t.Numeric({ maximum: 10 }) }) })
  .post("/body", ({ body }) => body, { body: t.Object({ name: t.String() }) })
  .get("/plain", () => new Response("{}", { headers: { "cache-control": "public" } }));

const app = appOf([partOf("consumer", routes)]);

describe("whatever goes wrong", () => {
  // The last one is an error that only calls itself NOT_FOUND.
  test.each(["/throws", "/rejects", "/throws-text", "/throws-coded"])(
    "%s says nothing of the error's own words",
    async (path) => {
      logged.length = 0;
      const { status, body } = await ask(app, path);
      expect({ status, body }).toEqual({
        status: 500,
        body: { code: "internal", message: "something went wrong here; the log says more" },
      });
      expect(logged).toHaveLength(1);
    },
  );

  test("a failure of the server keeps its code and loses its message", async () => {
    const { status, body } = await ask(app, "/database");
    expect(status).toBe(503);
    expect(body).toMatchObject({ code: "database_unavailable" });
    expect(JSON.stringify(body)).not.toContain("hush");
  });

  test("a mistake of the client keeps both, and is not logged", async () => {
    logged.length = 0;
    const { status, body } = await ask(app, "/cursor");
    expect({ status, body }).toEqual({
      status: 422,
      body: { code: "invalid_cursor", message: "not a cursor" },
    });
    expect(logged).toEqual([]);
  });

  test("a query of the wrong form is named, without what was expected or found", async () => {
    const { status, body } = await ask(app, "/limited?limit=hush");
    expect({ status, body }).toEqual({
      status: 422,
      body: { code: "invalid_request", message: "query /limit does not have the form that is expected here" },
    });
  });

  test.each(["{", "", "[]", "null"])("a body of %j is refused without detail", async (body) => {
    const headers = { "content-type": "application/json" };
    const answer = await ask(app, "/body", { method: "POST", headers, body });
    expect([400, 422]).toContain(answer.status);
    expect(Object.keys(answer.body as object)).toEqual(["code", "message"]);
  });

  test("an unknown path is not found", async () => {
    for (const path of ["/nothing", "//", "/health", "/health/ready/x", "/%"]) {
      expect(await ask(app, path)).toMatchObject({ status: 404, body: { code: "not_found" } });
    }
  });

  test("a path that a starting role may yet serve is unavailable, not unknown", async () => {
    expect(await ask(appOf([], { missing: "a role has failed" }), "/courses")).toMatchObject({
      status: 503,
      body: { code: "unavailable" },
    });
    expect(await ask(appOf([], { obstacle: "stopping" }), "/courses")).toMatchObject({ status: 503 });
  });
});

describe("every answer", () => {
  test.each(["/", "/health/live", "/health/ready", "/nothing", "/throws", "/cursor", "/limited"])(
    "of %s is JSON that nobody may sniff or keep",
    async (path) => {
      const { headers } = await ask(app, path);
      expect(headers.get("content-type")).toStartWith("application/json");
      expect(headers.get("x-content-type-options")).toBe("nosniff");
      expect(headers.get("cache-control")).toBe("no-store");
    },
  );

  test("of a route may bring its own headers", async () => {
    const { headers } = await ask(app, "/plain");
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("cache-control")).toBe("public");
  });
});

describe("GET /", () => {
  test("says what runs here and where to go on", async () => {
    const { body } = await ask(
      appOf([partOf("consumer", new Elysia().get("/courses", "x").post("/p", "x"))]),
      "/",
    );
    expect(body).toEqual({
      name: "pgstream",
      version: "1.2.3",
      roles: ["consumer"],
      links: ["/health/live", "/health/ready", "/courses"],
    });
  });
});

describe("health", () => {
  const waiting: Readiness = { ready: false, reason: "waits for the database", details: { lag: 2n ** 60n } };

  test("is live whatever the roles say", async () => {
    expect(await ask(appOf([partOf("a", null, () => waiting)]), "/health/live")).toMatchObject({
      status: 200,
    });
  });

  test("is ready when every role is", async () => {
    const { status, body } = await ask(appOf([partOf("a", null), partOf("b", null)]), "/health/ready");
    expect(status).toBe(200);
    expect(body).toEqual({ ready: true, reason: null, roles: { a: ready, b: ready } });
  });

  test("says for each role why it is not ready, with ids as text", async () => {
    const parts = [partOf("a", null), partOf("b", null, () => waiting)];
    const { status, body } = await ask(appOf(parts), "/health/ready");
    expect(status).toBe(503);
    expect(body).toMatchObject({
      ready: false,
      roles: {
        a: { ready: true },
        b: { reason: "waits for the database", details: { lag: "1152921504606846976" } },
      },
    });
  });

  test("asks anew each time", async () => {
    let current = waiting;
    const app = appOf([partOf("a", null, () => current)]);
    expect(await ask(app, "/health/ready")).toMatchObject({ status: 503 });
    current = ready;
    expect(await ask(app, "/health/ready")).toMatchObject({ status: 200 });
  });

  test("a role whose status throws is not ready, and the probe is answered", async () => {
    const broken = partOf("a", null, () => {
      throw new Error(secret);
    });
    const { status, body } = await ask(appOf([broken]), "/health/ready");
    expect(status).toBe(503);
    expect(JSON.stringify(body)).not.toContain("hush");
  });

  test("is not ready while the process stops", async () => {
    expect(await ask(appOf([partOf("a", null)], { obstacle: "stopping" }), "/health/ready")).toMatchObject({
      status: 503,
      body: { ready: false, reason: "stopping" },
    });
  });
});

describe("two roles", () => {
  test("each serve their own paths", async () => {
    const parts = [
      partOf(
        "a",
        new Elysia().get("/a", () => ({ a: 1 })),
      ),
      partOf(
        "b",
        new Elysia().get("/b", () => ({ b: 1 })),
      ),
    ];
    expect((await ask(appOf(parts), "/a")).body).toEqual({ a: 1 });
    expect((await ask(appOf(parts), "/b")).body).toEqual({ b: 1 });
  });

  test("cannot serve the same path, nor one of ours", () => {
    const one = () => new Elysia().get("/a", "x");
    expect(() => appOf([partOf("a", one()), partOf("b", one())])).toThrow("GET /a");
    expect(() => appOf([partOf("a", new Elysia().get("/health/live", "x"))])).toThrow("GET /health/live");
    expect(() => appOf([partOf("a", one()), partOf("b", new Elysia().post("/a", "x"))])).not.toThrow();
  });

  test("can be composed again and again from the same routes", async () => {
    for (let round = 0; round < 3; round += 1) {
      expect((await ask(appOf([partOf("consumer", routes)]), "/cursor")).status).toBe(422);
    }
  });
});
