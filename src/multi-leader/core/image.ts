/** A row as text values in the order of its table's columns; null is SQL's NULL. Columns that are computed are null. */
export type Image = readonly (string | null)[];

export function isSameImage(a: Image | null, b: Image | null): boolean {
  if (a === null || b === null) return a === b;
  return a.length === b.length && a.every((value, index) => value === b[index]);
}

const NEEDS_QUOTES = /["\\,()\s]/;

/** A row in PostgreSQL's text format of a row type. Source: PostgreSQL documentation, "Composite Type Input and Output Syntax". */
export function formatRecord(image: Image): string {
  const values = image.map((value) => {
    if (value === null) return '';
    if (value !== '' && !NEEDS_QUOTES.test(value)) return value;
    return `"${value.replaceAll('\\', '\\\\').replaceAll('"', '""')}"`;
  });
  return `(${values.join(',')})`;
}

/** Reads what record_out wrote. Throws RangeError for anything else. */
export function parseRecord(text: string): (string | null)[] {
  if (!text.startsWith('(') || !text.endsWith(')')) throw new RangeError('a row without its parentheses');
  return splitList(text.slice(1, -1), null);
}

/** Reads a one-dimensional array of PostgreSQL's text format. Throws RangeError for one of more dimensions. */
export function parseArray(text: string): (string | null)[] {
  if (!text.startsWith('{') || !text.endsWith('}') || text.startsWith('{{'))
    throw new RangeError('not an array of one dimension');
  const inner = text.slice(1, -1);
  return inner === '' ? [] : splitList(inner, 'NULL');
}

const ELEMENT_NEEDS_QUOTES = /^$|^null$|[{}",\\ \t\n\r\v\f]/i;

/** As PostgreSQL writes it itself, so that the same array has the same text wherever it was made. Source: array_out. */
export function formatArray(values: readonly (string | null)[]): string {
  const elements = values.map((value) => {
    if (value === null) return 'NULL';
    if (!ELEMENT_NEEDS_QUOTES.test(value)) return value;
    return `"${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
  });
  return `{${elements.join(',')}}`;
}

/** Splits at commas outside of quotes. `nullWord` unquoted, or nothing unquoted where it is null, is NULL. */
function splitList(text: string, nullWord: string | null): (string | null)[] {
  const values: (string | null)[] = [];
  let value = '';
  let wasQuoted = false;
  let isQuoted = false;
  const end = (): void => {
    const isNull = !wasQuoted && value === (nullWord ?? '');
    values.push(isNull ? null : value);
    value = '';
    wasQuoted = false;
  };
  for (let at = 0; at < text.length; at++) {
    const sign = text[at] ?? '';
    if (sign === '\\') value += text[++at] ?? '';
    else if (sign === '"') {
      // Doubled inside quotes it stands for itself.
      if (isQuoted && text[at + 1] === '"') value += text[++at] ?? '';
      else isQuoted = !isQuoted;
      wasQuoted = true;
    } else if (sign === ',' && !isQuoted) end();
    else value += sign;
  }
  end();
  return values;
}
