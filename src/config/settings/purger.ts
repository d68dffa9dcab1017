import { onOff, text } from "../parser.ts";
import { setting } from "../setting.ts";
import { bytes, duration } from "../units.ts";

export const purgerSettings = {
  retentionMs: setting("RETENTION", duration({ minMs: 1_000 }), {
    default: "7 days",
    about: "age at which events are removed; a topic may have its own",
  }),
  schedule: setting("PURGE_SCHEDULE", text("cron"), {
    default: "* * * * *",
    about: "when to remove what is too old, besides once at start (UTC)",
  }),
  segmentIntervalMs: setting("SEGMENT_INTERVAL", duration({ minMs: 1_000 }), {
    default: "1 day",
    about: "age at which a segment is closed",
  }),
  segmentBytesMax: setting("SEGMENT_BYTES", bytes({ min: 2 ** 20, max: 2 ** 45 }), {
    default: "10GB",
    about: "size at which a segment is closed",
  }),
  dryRun: setting("DRY_RUN", onOff, { default: "off", about: "only say what would be purged" }),
};
