import { optional } from "../setting.ts";
import { duration } from "../units.ts";

export const demoSettings = {
  forMs: optional("DEMO_FOR", duration({ minMs: 1_000 }), {
    flag: "--for",
    about: "how long the demo runs",
    unset: "until stopped",
  }),
};
