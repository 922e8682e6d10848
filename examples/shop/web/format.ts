/** `€1,249.00` */
export function formatMoney(cents: number): string {
  return `€${(cents / 100).toLocaleString('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
}

export function formatCount(count: number): string {
  return count.toLocaleString('en');
}

export function formatDate(date: Date): string {
  return date.toLocaleDateString('en-GB', { day: 'numeric', month: 'long', year: 'numeric' });
}
