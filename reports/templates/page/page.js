(() => {
  'use strict';
  const root = document.documentElement;
  root.classList.add('js');
  const scope = document.getElementById('scope');
  const weeks = document.getElementById('weeks');
  const parts = [...document.querySelectorAll('[data-scope],[data-weeks]')];
  const wholes = [...document.querySelectorAll('.whole')];
  const show = () => {
    const cut = scope.selectedIndex > 0;
    const other = !weeks.selectedOptions[0].defaultSelected;
    for (const whole of wholes) whole.hidden = !(other || (cut && whole.dataset.of !== 'weeks'));
    for (const part of parts) {
      const {scope: s, weeks: w} = part.dataset;
      part.hidden = (s !== undefined && s !== scope.value) || (w !== undefined && w !== weeks.value);
    }
  };
  const read = () => {
    const wanted = /^#s(\d+)w(\d+)$/.exec(location.hash);
    if (wanted && [...scope.options].some(o => o.value === wanted[1]) && [...weeks.options].some(o => o.value === wanted[2])) {
      scope.value = wanted[1];
      weeks.value = wanted[2];
    }
    show();
  };
  if (scope && weeks) {
    const chosen = () => {
      history.replaceState(null, '', `#s${scope.value}w${weeks.value}`);
      show();
    };
    scope.addEventListener('change', chosen);
    weeks.addEventListener('change', chosen);
    addEventListener('hashchange', read);
    read();
  }
  const theme = document.getElementById('theme');
  theme.addEventListener('click', () => {
    const dark = getComputedStyle(root).getPropertyValue('color-scheme').trim() === 'dark';
    root.dataset.theme = dark ? 'light' : 'dark';
  });
})();
