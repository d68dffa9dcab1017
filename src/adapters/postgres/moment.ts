/** Events of one transaction have the same time, and follow each other: reading it once is cheaper. */
export const makeMomentReader = () => {
  let last = { text: "", ms: 0 };
  return (text: string): Date => {
    if (text !== last.text) last = { text, ms: Date.parse(text) };
    return new Date(last.ms);
  };
};
