// What a page does beyond HTML: copy, wait for the first event, follow the ledger, submit a picker at once. Every page is
// whole without it. Nothing but this origin is asked.
'use strict';

const each = (selector, work, root = document) => root.querySelectorAll(selector).forEach(work);

function copyButton(text) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'quiet copy';
  button.textContent = 'Copy';
  arm(button, text);
  return button;
}

function arm(button, text) {
  button.hidden = false;
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = 'Copied';
    } catch {
      button.textContent = 'Select and copy by hand';
    }
    setTimeout(() => { button.textContent = 'Copy'; }, 2000);
  });
}

each('[data-copy]', (button) => arm(button, () => button.dataset.copy));
each('.code', (box) => box.append(copyButton(() => box.querySelector('code').textContent)));
each('[data-auto]', (field) => field.addEventListener('change', () => field.value === 'custom' ? (field.form.querySelector('details').open = true) : field.form.requestSubmit()));
each('[data-confirm]', (form) => form.addEventListener('submit', (e) => { if (!confirm(form.dataset.confirm)) e.preventDefault(); }));

// Empty fields make no part of the address.
each('form.filters', (form) => form.addEventListener('submit', () => each('input, select', (field) => { field.disabled = field.value === ''; }, form)));

// The start page turns to the first event as soon as it is there.
each('[data-wait]', (box) => {
  const look = async () => {
    try {
      const res = await fetch(box.dataset.wait, { headers: { accept: 'application/json' } });
      if (res.status === 200) {
        location.assign((await res.json()).path);
        return;
      }
    } catch { /* the gateway restarts: look again */ }
    setTimeout(look, 700);
  };
  look();
});

// The ledger's first page can be followed: the same page is asked again, and its rows put in place.
each('[data-live]', (button) => {
  button.hidden = false;
  button.setAttribute('aria-pressed', 'false');
  let timer = 0;
  const look = async () => {
    try {
      const res = await fetch(location.href);
      const next = new DOMParser().parseFromString(await res.text(), 'text/html');
      const fresh = next.querySelector(button.dataset.live);
      if (fresh) document.querySelector(button.dataset.live).replaceWith(fresh);
    } catch { /* look again */ }
    timer = setTimeout(look, 2000);
  };
  button.addEventListener('click', () => {
    const on = button.getAttribute('aria-pressed') === 'false';
    button.setAttribute('aria-pressed', String(on));
    button.textContent = on ? 'Following' : 'Follow live';
    clearTimeout(timer);
    if (on) look();
  });
});

// "/" opens the filters, as in many ledgers; it is left alone where somebody types.
document.addEventListener('keydown', (e) => {
  const box = document.querySelector('form.filters details');
  if (e.key !== '/' || e.ctrlKey || e.metaKey || e.altKey || !box || /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) return;
  e.preventDefault();
  box.open = true;
  box.querySelector('input[name=workflow_id]').focus();
});
