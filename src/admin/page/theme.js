const CHOICES = ['auto', 'light', 'dark'];

/**
 * Lets a person overrule the system's light or dark, and remembers it.
 * @param {HTMLElement} button
 * @param {() => void} onChange called after the colours changed, whoever changed them
 */
export function bindTheme(button, onChange) {
  let choice = localStorage.getItem('theme') ?? 'auto';
  if (!CHOICES.includes(choice)) choice = 'auto';
  function apply() {
    if (choice === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    button.textContent = `Theme: ${choice}`;
    onChange();
  }
  button.addEventListener('click', () => {
    choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length] ?? 'auto';
    localStorage.setItem('theme', choice);
    apply();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', onChange);
  apply();
}

/**
 * A colour of the style sheet as the canvas understands it.
 * @param {string} name a custom property, such as `--ink`
 * @returns {string}
 */
export function themeColor(name) {
  const probe = document.createElement('i');
  probe.style.color = `var(${name})`;
  probe.hidden = true;
  document.body.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}
