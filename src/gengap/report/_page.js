(() => {
  "use strict";
  const root = document.querySelector(".gengap");
  const charts = JSON.parse(document.getElementById("gengap-charts").textContent);
  const views = {};
  let chosen = null;

  // The choice: one group in full color in every chart, table and gallery that knows it.
  const choose = (name) => {
    chosen = name === chosen ? null : name;
    root.classList.toggle("choosing", chosen !== null);
    for (const part of document.querySelectorAll("[data-group]")) {
      const hit = chosen !== null && part.dataset.group === chosen;
      if (part.tagName === "BUTTON") part.setAttribute("aria-pressed", String(hit));
      else part.classList.toggle("chosen", hit);
    }
    for (const button of document.querySelectorAll("[data-clear]")) button.hidden = chosen === null;
    return Promise.all(charts.filter((chart) => views[chart.name]).map((chart) => {
      const known = chart.groups.length === 0 || chart.groups.includes(chosen);
      return views[chart.name].signal("chosen", known ? chosen : null).runAsync();
    }));
  };

  // What is under the pointer.
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  root.append(tip);
  const show = (handler, event, item, value) => {
    if (value === null || value === undefined || value === "") { tip.hidden = true; return; }
    tip.replaceChildren();
    Object.entries(value).forEach(([key, text], place) => {
      const line = document.createElement(place === 0 ? "b" : "span");
      if (place > 0) {
        const label = document.createElement("i");
        label.textContent = key;
        line.append(label);
      }
      line.append(document.createTextNode(String(text)));
      tip.append(line);
    });
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = Math.min(event.clientX + 14, window.innerWidth - box.width - 8);
    const below = event.clientY + 16 + box.height < window.innerHeight;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${below ? event.clientY + 16 : event.clientY - box.height - 12}px`;
  };

  const draw = async (chart) => {
    const place = document.querySelector(`[data-plot="${chart.name}"]`);
    try {
      const { view } = await vegaEmbed(place, chart.vega, {
        mode: "vega", renderer: "svg", actions: false, defaultStyle: false, tooltip: show,
      });
      view.addEventListener("click", (event, item) => {
        if (item && item.datum && item.datum.group !== undefined) choose(String(item.datum.group));
      });
      views[chart.name] = view;
    } catch (error) {
      place.className = "failed";
      place.textContent = "This chart could not be drawn.";
      console.error(error);
    }
  };

  const hand = (name, url) => {
    const link = document.createElement("a");
    link.download = name;
    link.href = url;
    link.click();
  };
  const save = async (name, form) => {
    if (form === "png") { hand(`${name}.png`, await views[name].toImageURL("png", 2)); return; }
    const text = form === "csv"
      ? charts.find((chart) => chart.name === name).csv : await views[name].toSVG();
    const type = form === "csv" ? "text/csv" : "image/svg+xml";
    const url = URL.createObjectURL(new Blob([text], { type }));
    hand(`${name}.${form}`, url);
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  };

  const copy = async (button) => {
    const block = button.parentElement.querySelector("pre");
    try {
      await navigator.clipboard.writeText(block.textContent);
    } catch {
      window.getSelection().selectAllChildren(block);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    const row = event.target.closest("tr[data-group], .examples h4");
    if (button?.dataset.save) save(button.dataset.chart, button.dataset.save);
    else if (button && "copy" in button.dataset) copy(button);
    else if (button && "clear" in button.dataset) choose(null);
    else if (button?.dataset.group !== undefined) choose(button.dataset.group);
    else if (row) choose(row.closest("[data-group]").dataset.group);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && chosen !== null) choose(null);
  });

  window.gengap = { views, choose, ready: Promise.all(charts.map(draw)) };
})();
