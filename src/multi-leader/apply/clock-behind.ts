/** The target's clock is not past what is to be applied yet; nothing was done. */
export class ClockBehind extends Error {
  readonly lackUs: number;

  constructor(lackUs: number) {
    super(`the clock lacks ${lackUs} µs`);
    this.lackUs = lackUs;
  }
}
