//! The one HTTP application of the process: who runs here, health, and the routes of the roles. It never listens by
//! itself. Whatever goes wrong in any route leaves as `{code, message}`, with nothing in it that the client did not know.

import { Elysia, NotFoundError, ParseError, ValidationError, type AnyElysia } from "elysia";

import { PgstreamError } from "../core/errors.ts";
import type { Logger } from "../core/ports.ts";
import { makeHealth, type Reporter } from "./health.ts";
import { json } from "./json.ts";
import { httpProblems, invalidRequest, problemOf, unavailable, type Problem } from "./problem.ts";

/** A role, as HTTP sees it. */
export interface Part extends Reporter {
  /** Null while it has none to offer. */
  readonly routes: AnyElysia | null;
}

export interface AppDeps {
  readonly version: string;
  readonly logger: Logger;
  readonly parts: readonly Part[];
  /** Why the process as a whole is not ready (it stops), or null. */
  readonly obstacle: string | null;
  /** Why routes may be missing, or null: an unknown path is then "not now" instead of "not found". */
  readonly missing: string | null;
}

const securityHeaders = {
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};

interface Route {
  readonly method: string;
  readonly path: string;
}

const routesOf = (routes: AnyElysia): readonly Route[] =>
  routes.routes.map(({ method, path }: Route) => ({ method, path }));

/** Elysia lets the later of two equal routes win in silence. */
const refuseCollisions = (owners: readonly (readonly [string, AnyElysia])[]): void => {
  const ownerOf = new Map<string, string>();
  for (const [owner, routes] of owners) {
    for (const { method, path } of routesOf(routes)) {
      const route = `${method} ${path}`;
      const other = ownerOf.get(route);
      if (other !== undefined) {
        throw new PgstreamError("internal", `both ${other} and ${owner} serve ${route}: rename one`);
      }
      ownerOf.set(route, owner);
    }
  }
};

const about = ({ version, parts }: AppDeps) =>
  new Elysia().get("/", () => {
    const links = parts
      .flatMap(({ routes }) => (routes === null ? [] : routesOf(routes)))
      .filter(({ method }) => method === "GET");
    return json({
      name: "pgstream",
      version,
      roles: parts.map(({ name }) => name),
      links: ["/health/live", "/health/ready", ...links.map(({ path }) => path)],
    });
  });

const whereOf = ({ type, valueError }: ValidationError): string => {
  const path = typeof valueError?.path === "string" ? valueError.path.slice(0, 80) : "";
  return `${type} ${path}`.trim();
};

/** By class, not by Elysia's `code`: that one is read off the error, which may come from anybody's library. */
const problemIn = (error: unknown, { missing, obstacle }: AppDeps): Problem => {
  if (error instanceof ValidationError) return invalidRequest(whereOf(error));
  if (error instanceof ParseError) return httpProblems.malformed;
  if (!(error instanceof NotFoundError)) return problemOf(error);
  if (obstacle !== null) return unavailable("the process stops; try again later");
  return missing === null ? httpProblems.notFound : unavailable(`${missing}; try again later`);
};

/** @throws PgstreamError `internal` when two parts serve the same route */
export const makeApp = (deps: AppDeps) => {
  const own = [about(deps), makeHealth(deps.parts, deps.obstacle)];
  const mounted = deps.parts.flatMap(({ name, routes }) =>
    routes === null ? [] : [[name, routes] as const],
  );
  refuseCollisions([...own.map((it) => ["pgstream", it] as const), ...mounted]);

  const app = new Elysia()
    .onRequest(({ set }) => {
      Object.assign(set.headers, securityHeaders);
    })
    .onError(({ error, path }) => {
      const { status, ...body } = problemIn(error, deps);
      if (status >= 500 && body.code !== "unavailable") {
        deps.logger.error({ error, code: body.code, path }, "a request failed");
      }
      return json(body, status);
    });
  for (const it of own) app.use(it);
  for (const [, routes] of mounted) app.use(routes);
  return app;
};
