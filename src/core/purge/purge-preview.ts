//! What a round of purging would remove, as lines for people. Changes nothing.

import type { ExpiredSegment, Purging, UnfinishedPurge } from "./purge-port.ts";

const units = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
  ["second", 1_000],
] as const;

const counted = (amount: number | bigint, unit: string): string =>
  `${amount} ${unit}${Number(amount) === 1 ? "" : "s"}`;

/** In the largest unit of which there is at least one. */
const describeAge = (ms: number): string => {
  const [unit, factor] = units.find(([, factor]) => ms >= factor) ?? (["second", 1_000] as const);
  return counted(Math.floor(ms / factor), unit);
};

const describeSegment = ({ segment, events, openedAt, closedAt, closedAgoMs }: ExpiredSegment): string => {
  const until = closedAt === null ? "?" : closedAt.toISOString();
  const age = closedAgoMs === null ? "" : `, closed ${describeAge(closedAgoMs)} ago`;
  return `segment ${segment}: ${counted(events ?? 0n, "event")}, from ${openedAt.toISOString()} to ${until}${age}`;
};

const describeUnfinished = ({ id, segment, topicId }: UnfinishedPurge): string =>
  `${segment === null ? `topic number ${topicId}` : `segment ${segment}`}: announced earlier as purge ${id}, not finished`;

/** One line for each thing that would go. Counts what it names, which may take a while. */
export const previewPurge = async (
  purging: Pick<Purging, "unfinishedPurges" | "expiredSegments" | "expiredTopics">,
  retentionMs: number,
): Promise<readonly string[]> => {
  const unfinished = await purging.unfinishedPurges();
  const segments = await purging.expiredSegments(retentionMs, { counted: true });
  const topics = await purging.expiredTopics(retentionMs, { counted: true });
  const lines = [
    ...unfinished.map(describeUnfinished),
    ...segments.map(describeSegment),
    ...topics.map(
      ({ name, events }) => `topic ${name}: ${counted(events ?? 0n, "event")} past its own retention`,
    ),
  ];
  return [...(lines.length === 0 ? ["nothing to purge"] : lines), "dry run: nothing was changed"];
};
