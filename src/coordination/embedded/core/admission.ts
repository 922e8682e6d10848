/** What a voter tells another about its vote. */
export interface Standing {
  /** Whether it votes. */
  readonly isAdmitted: boolean;
  /** Whether it holds a register that was written. */
  readonly hasWritten: boolean;
}

/**
 * Whether a voter with an empty file may begin to vote. The first register is written only when all voters
 * vote. So where one holds a written register, this voter had voted before and has lost what it promised: it
 * could complete a majority that knows nothing of the newest value. Null stands for no answer.
 */
export function judgeNewcomer(others: readonly (Standing | null)[]): 'admit' | 'wait' | 'lost' {
  if (others.some((other) => other?.hasWritten === true)) return 'lost';
  return others.every((other) => other !== null) ? 'admit' : 'wait';
}
