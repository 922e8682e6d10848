const GRAPHEMES = new Intl.Segmenter('en', { granularity: 'grapheme' });
const ESCAPE_SEQUENCE = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-_])/g;
const PRINTABLE_ASCII = /^[ -~]*$/;
const INVISIBLE = /^[\p{Mark}\p{Format}\p{Default_Ignorable_Code_Point}]+$/u;
const WIDE_PICTURE = /\p{Emoji_Presentation}|\p{Extended_Pictographic}\uFE0F|\p{Regional_Indicator}/u;
// East Asian Wide and Fullwidth blocks. Source: Unicode Standard Annex 11.
const WIDE_LETTER =
  /[\u1100-\u115F\u2E80-\u303E\u3041-\uA4CF\uA960-\uA97F\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6F\uFF01-\uFF60\uFFE0-\uFFE6\u{17000}-\u{18CFF}\u{1B000}-\u{1B2FF}\u{20000}-\u{3FFFD}]/u;

/** Text that moves no cursor and changes no colour: escape sequences are gone, control characters are spaces. */
export function toPlainText(text: string): string {
  return text
    .replace(ESCAPE_SEQUENCE, '')
    .replace(/[\p{Cc}\u2028\u2029]+/gu, ' ')
    .replace(/\p{Surrogate}/gu, '\uFFFD');
}

/** How many terminal columns plain text takes. Letters of ambiguous width count one, as in Western terminals. */
export function textWidth(text: string): number {
  if (PRINTABLE_ASCII.test(text)) return text.length;
  let width = 0;
  for (const { segment } of GRAPHEMES.segment(text)) width += graphemeWidth(segment);
  return width;
}

/** The text itself when it fits, else its start with `…`; never wider than `columns`. */
export function cutText(text: string, columns: number): string {
  if (textWidth(text) <= columns) return text;
  if (columns <= 0) return '';
  let cut = '';
  let width = 0;
  for (const { segment } of GRAPHEMES.segment(text)) {
    width += graphemeWidth(segment);
    if (width > columns - 1) break;
    cut += segment;
  }
  return `${cut}…`;
}

/** The text in lines no wider than `columns`, broken at spaces; all but the first begin with `indent`. */
export function wrapText(text: string, columns: number, indent: string): readonly string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of toPlainText(text).split(' ').filter(Boolean)) {
    const longer = line === '' ? word : `${line}${line === indent ? '' : ' '}${word}`;
    if (textWidth(longer) <= columns || line === '' || line === indent) line = longer;
    else {
      lines.push(line);
      line = `${indent}${word}`;
    }
  }
  return line === '' ? lines : [...lines, line];
}

function graphemeWidth(grapheme: string): number {
  if (INVISIBLE.test(grapheme)) return 0;
  return WIDE_PICTURE.test(grapheme) || WIDE_LETTER.test(grapheme) ? 2 : 1;
}
