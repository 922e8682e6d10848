const hookErrors = new WeakSet<Error>();

/** Marks what the app's `onConnect` or `verify` threw, which reaches the app unchanged. */
export function fromHook(thrown: unknown): Error {
  const error = toError(thrown);
  hookErrors.add(error);
  return error;
}

/** Whether the app's own code threw it. */
export function isFromHook(error: Error): boolean {
  return hookErrors.has(error);
}

export function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
