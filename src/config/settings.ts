//! Every setting there is: name, unit, default, meaning. The help, the parsing and the type `Config` all come from here.

import type { Setting } from "./setting.ts";
import { consumerSettings } from "./settings/consumer.ts";
import { databaseSettings } from "./settings/database.ts";
import { demoSettings } from "./settings/demo.ts";
import { migratorSettings } from "./settings/migrator.ts";
import { processSettings } from "./settings/process.ts";
import { producerSettings } from "./settings/producer.ts";
import { purgerSettings } from "./settings/purger.ts";

/** By who uses it; the order is that of the help. */
export const settings = {
  process: processSettings,
  database: databaseSettings,
  migrator: migratorSettings,
  producer: producerSettings,
  consumer: consumerSettings,
  purger: purgerSettings,
  demo: demoSettings,
};

export type Settings = typeof settings;
export type SettingGroup = keyof Settings;

export interface ListedSetting {
  readonly group: SettingGroup;
  /** Its name in the configuration. */
  readonly name: string;
  readonly setting: Setting<unknown>;
}

/** The same table as a list, where the settings' own types do not matter. */
export const allSettings: readonly ListedSetting[] = Object.entries(settings).flatMap(([group, members]) =>
  Object.entries<Setting<unknown>>(members).map(([name, setting]) => ({
    group: group as SettingGroup,
    name,
    setting,
  })),
);
