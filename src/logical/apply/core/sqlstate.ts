/**
 * What an error of the target calls for. `data`: the transaction itself cannot be applied here, so it is looked for
 * and set aside. `schema`: people must change something; it is tried again until they have. `passing`: nothing is
 * wrong with the changes; the connection or the server is.
 */
export type FailureKind = 'data' | 'schema' | 'passing';

const DATA_CLASSES = new Set([
  '21', // cardinality violation
  '22', // data exception
  '23', // integrity constraint violation
  '27', // triggered data change violation
  '44', // WITH CHECK OPTION violation
  'P0', // raised by a trigger's own code
]);
const SCHEMA_CLASSES = new Set([
  '0A', // feature not supported
  '2B', // dependent objects
  '28', // authorization
  '3D', // no such database
  '3F', // no such schema
  '42', // no such table, column, function; no privilege
  '55', // object not in prerequisite state
]);
/** Of those classes, but about the moment: lock not available, unsafe new enum value, object in use. */
const PASSING_CODES = new Set(['55P03', '55006', '55P04', '42P18']);
/** A value for a column that takes none: a row of the source that this target's table refuses. */
const DATA_CODES = new Set(['428C9']);

/** Source: PostgreSQL documentation, "PostgreSQL Error Codes". Without a code the connection failed. */
export function classifyFailure(sqlState: string | undefined): FailureKind {
  if (sqlState === undefined || PASSING_CODES.has(sqlState)) return 'passing';
  if (DATA_CODES.has(sqlState)) return 'data';
  const group = sqlState.slice(0, 2);
  if (DATA_CLASSES.has(group)) return 'data';
  return SCHEMA_CLASSES.has(group) ? 'schema' : 'passing';
}
