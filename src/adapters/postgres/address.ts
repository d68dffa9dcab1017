//! Where a Postgres URL leads to, in the form in which the driver takes it apart from the URL: its own reading splits an IPv6
//! address at its colons, and takes the names of a socket's folder and of a database as the URL encodes them.

/** Lists of hosts and ports are an option that the driver's types leave out. */
export interface Address {
  readonly host?: string;
  readonly port?: number;
  /** Of a socket; the driver would look for it among the hosts. */
  readonly path?: string;
  readonly database?: string;
}

const defaultPort = 5_432;
const parts = /^[^:]+:\/\/(?:[^@/?#]*@)?(?<hosts>[^/?#]*)(?:\/(?<database>[^?#]*))?/;
const hostAndPort = /^(?:\[(?<v6>[^\]]*)\]|(?<name>[^:]*))(?::(?<port>\d+))?$/;

/**
 * A URL that names a host is not led elsewhere by a stray PGPORT. What one without leaves out is left to the driver, which asks the
 * environment.
 */
export const addressOf = (url: string): Address => {
  const { hosts = "", database = "" } = parts.exec(url)?.groups ?? {};
  const list = hosts.split(",").map((it) => {
    const { v6, name = "", port = String(defaultPort) } = hostAndPort.exec(it)?.groups ?? {};
    return { host: v6 ?? decodeURIComponent(name), port: Number(port) };
  });
  const [first] = list;
  const isSocket = first?.host.startsWith("/") === true;
  return {
    ...(hosts !== "" && {
      host: list.map(({ host }) => host) as unknown as string,
      port: list.map(({ port }) => port) as unknown as number,
    }),
    ...(isSocket && { path: `${first.host}/.s.PGSQL.${first.port}` }),
    ...(database !== "" && { database: decodeURIComponent(database) }),
  };
};
