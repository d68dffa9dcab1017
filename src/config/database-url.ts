//! Postgres URLs. What the URL says about TLS is taken out of it, because the driver's own reading of `sslmode=require`
//! encrypts without checking whom it talks to; nothing here ever falls back to plain text on its own.

import type { Parsed, Parser } from "./parser.ts";

/** `verify` checks the certificate's chain and its host name; `no-verify` only encrypts. */
export type TlsMode = "off" | "verify" | "no-verify";

export interface DatabaseUrl {
  /** For the driver: without any `ssl…` parameter. */
  readonly url: string;
  /** What the URL asked for; null when it says nothing. */
  readonly tls: TlsMode | null;
  readonly caFile: string | null;
}

const tlsOf = new Map<string, TlsMode>([
  ["disable", "off"],
  ["require", "verify"],
  ["verify-ca", "verify"],
  ["verify-full", "verify"],
  ["no-verify", "no-verify"],
]);

// libpq's own. The driver would send these to the server as settings, and the server would refuse the connection; or, worse, obey.
const unsupported = new Set(
  `hostaddr port user password dbname service passfile require_auth load_balance_hosts keepalives keepalives_idle
  keepalives_interval keepalives_count tcp_user_timeout sslcert sslkey sslcrl sslpassword sslsni sslcompression
  sslnegotiation requiressl ssl_min_protocol_version ssl_max_protocol_version channel_binding gssencmode krbsrvname`.split(
    /\s+/,
  ),
);

const form =
  "is not a Postgres URL: write postgres://user:password@host:5432/database, special characters percent-encoded";
const shape =
  /^(?<head>postgres(?:ql)?:\/\/(?:[^@/?#\s]*@)?)(?<hosts>[^@/?#\s]*)\/(?<database>[^/?#\s]*)(?:\?(?<query>[^#\s]*))?$/;
const hostAndPort = /^(?:\[[0-9A-Fa-f:.]+\]|[^:[\]]+)?(?::\d{1,5})?$/;

const canDecode = (text: string): boolean => {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false; // a stray "%": the caller reports it
  }
};

const readTls = (query: URLSearchParams): Parsed<Pick<DatabaseUrl, "tls" | "caFile">> => {
  const mode = query.get("sslmode") ?? query.get("ssl");
  const tls = mode === null ? null : tlsOf.get(mode);
  if (tls === undefined) {
    return {
      problem:
        "has an sslmode that may silently speak in the clear: use disable, verify-full (require means the same) or no-verify",
    };
  }
  const caFile = query.get("sslrootcert");
  return { value: { tls, caFile: caFile === "system" ? null : caFile } };
};

const problemOf = (query: URLSearchParams): string | null => {
  for (const name of query.keys()) {
    if (unsupported.has(name)) return `has the parameter ${name}, which is not supported: remove it`;
    // Which one of them holds?
    if (query.getAll(name).length > 1) return `has the parameter ${name} twice: leave one`;
  }
  return null;
};

/** The folder of a socket may stand where the hosts do, or in a parameter, as there it need not be encoded. */
const withSocket = (hosts: string, query: URLSearchParams): string | null => {
  const folder = query.get("host");
  query.delete("host");
  if (folder === null) return hosts;
  return hosts === "" && folder.startsWith("/") ? encodeURIComponent(folder) : null;
};

const parse = (text: string): Parsed<DatabaseUrl> => {
  const { head, hosts: written, database, query } = shape.exec(text)?.groups ?? {};
  if (head === undefined || written === undefined || database === undefined || !canDecode(text)) {
    return { problem: form };
  }
  const parameters = new URLSearchParams(query ?? "");
  const problem = problemOf(parameters);
  if (problem !== null) return { problem };
  const hosts = withSocket(written, parameters);
  if (hosts === null)
    return { problem: "has a parameter host beside a host, or that is no folder: leave one" };
  // Several hosts are the driver's extension: each must be well formed, and the first must make a URL.
  const list = hosts.split(",");
  if (!list.every((it) => hostAndPort.test(it)) || !URL.canParse(`${head}${list[0]}/`))
    return { problem: form };
  if (database === "") return { problem: "names no database: end it with /database" };

  const tls = readTls(parameters);
  if ("problem" in tls) return tls;
  for (const name of ["ssl", "sslmode", "sslrootcert"]) parameters.delete(name);
  const rest = parameters.size === 0 ? "" : `?${parameters.toString()}`;
  return { value: { url: `${head}${hosts}/${database}${rest}`, ...tls.value } };
};

export const databaseUrl: Parser<DatabaseUrl> = { unit: "url", parse };
