//! The roles a process can play, in the order in which they depend on each other.

export const roleNames = ["migrator", "purger", "consumer", "producer"] as const;
export type RoleName = (typeof roleNames)[number];

const isRoleName = (name: string): name is RoleName => (roleNames as readonly string[]).includes(name);

/** Which of `names` are roles, in dependency order and once each; `all` stands for every one. Null when a name is unknown. */
export const selectRoles = (names: readonly string[]): readonly RoleName[] | null => {
  const chosen = names.flatMap((name) => (name === "all" ? [...roleNames] : [name]));
  return chosen.every((name) => isRoleName(name)) ? roleNames.filter((name) => chosen.includes(name)) : null;
};
