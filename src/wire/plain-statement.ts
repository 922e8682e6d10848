/** A statement of nothing but text and values, for which pg need not copy a config. */
export class PlainStatement {
  readonly text: string;
  readonly values: unknown[] | undefined;

  constructor(text: string, values: unknown[] | undefined) {
    this.text = text;
    this.values = values;
  }
}
