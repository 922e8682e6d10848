/** Converts a value to what the wire carries: text, bytes or null. pg's types leave its inner modules out. */
declare module 'pg/lib/utils.js' {
  const wire: { prepareValue(value: unknown): string | Buffer | null };
  export default wire;
}
