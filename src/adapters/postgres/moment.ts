/** Events of one transaction have the same time, and follow each other: they share it, too. */
export const makeMomentReader = () => {
  let last = { text: "", moment: new Date(0) };
  return (text: string): Date => {
    if (text !== last.text) last = { text, moment: new Date(text) };
    return last.moment;
  };
};
