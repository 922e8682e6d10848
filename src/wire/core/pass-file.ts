/** What an entry of a pass file is looked up by. */
export interface PassFileKey {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
}

/**
 * The password for this server in a pass file; null where it has none. Source: PostgreSQL documentation, libpq, "The Password File": lines of
 * `hostname:port:database:username:password`, `*` matches anything, a backslash escapes `:` and itself.
 */
export function findPassword(passFile: string, { host, port, database, user }: PassFileKey): string | null {
  const wanted = [host, String(port), database, user];
  const lines = passFile.split(/\r?\n/).map((line) => (line.startsWith('#') ? [] : fieldsOf(line)));
  const found = lines.find(
    (fields) =>
      fields.length > wanted.length && wanted.every((value, i) => fields[i] === '*' || fields[i] === value),
  );
  return found?.[wanted.length] ?? null;
}

function fieldsOf(line: string): readonly string[] {
  const fields = [''];
  for (let at = 0; at < line.length; at++) {
    const letter = line.charAt(at);
    if (letter === ':') fields.push('');
    else fields[fields.length - 1] += letter === '\\' ? line.charAt(++at) : letter;
  }
  return fields;
}
