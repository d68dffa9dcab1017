//! A server program that prints its URL as its first line and ends when its input closes: also when we are killed.

export interface UrlProgram {
  readonly url: string;
  readonly close: () => Promise<void>;
}

const stopDeadlineMs = 10_000;

const firstLine = async (stream: ReadableStream<Uint8Array>): Promise<string> => {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    text += decoder.decode(chunk, { stream: true });
    const end = text.indexOf("\n");
    if (end >= 0) return text.slice(0, end).trim();
  }
  return "";
};

/** @throws Error when it prints no URL in time; the message ends with the last thing it said */
export const startUrlProgram = async (
  command: readonly string[],
  options: { readonly deadlineMs: number; readonly env?: Readonly<Record<string, string>> },
): Promise<UrlProgram> => {
  const child = Bun.spawn([...command], {
    detached: true,
    env: { ...process.env, ...options.env },
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
  });
  child.unref();
  const errors = child.stderr.text();
  const timer = setTimeout(() => child.kill("SIGKILL"), options.deadlineMs);
  const url = await firstLine(child.stdout);
  clearTimeout(timer);
  if (!url.includes("://")) {
    child.kill("SIGKILL");
    await child.exited;
    const said = (await errors).trim().split("\n").at(-1) ?? "";
    throw new Error(said === "" ? `it said nothing within ${options.deadlineMs / 1000} s` : said);
  }
  return {
    url,
    close: async () => {
      await child.stdin.end();
      const timer = setTimeout(() => child.kill("SIGKILL"), stopDeadlineMs);
      await child.exited;
      clearTimeout(timer);
    },
  };
};
