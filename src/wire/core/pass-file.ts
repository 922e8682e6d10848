/** What an entry of a pass file is looked up by. */
export interface PassFileKey {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
}

/**
 * Whether a pass file has a password for this server. Source: PostgreSQL documentation, libpq, "The Password File": lines of
 * `hostname:port:database:username:password`, `*` matches anything, a backslash escapes `:` and itself.
 */
export function hasPassword(passFile: string, { host, port, database, user }: PassFileKey): boolean {
  const wanted = [host, String(port), database, user];
  return passFile.split(/\r?\n/).some((line) => {
    const fields = line.startsWith('#') ? [] : fieldsOf(line);
    return (
      fields.length > wanted.length && wanted.every((value, i) => fields[i] === '*' || fields[i] === value)
    );
  });
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
