/** What is not supported, cardinality, data, what a function of the app's raises or may not do, syntax or access rules, limits. */
const CLASSES: readonly string[] = ['0A', '21', '22', '38', '39', '42', '54', 'P0'];
/** It took longer than the app's settings let it. */
const QUERY_CANCELED = '57014';

/**
 * Whether a SQLSTATE tells of a condition of the user's, which they can correct, and not of the server.
 * Source: PostgreSQL documentation, "PostgreSQL Error Codes".
 */
export function isOfTheCondition(sqlState: string): boolean {
  return sqlState === QUERY_CANCELED || CLASSES.includes(sqlState.slice(0, 2));
}
