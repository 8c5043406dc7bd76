// Draws the charts of a page: each figure carries its ECharts option as JSON. Texts in tooltips are
// drawn on the canvas, never parsed as HTML, and no style is written into the page.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  for (const figure of document.querySelectorAll("figure[data-chart]")) {
    if (typeof echarts === "undefined") {
      figure.classList.add("empty");
      continue;
    }
    const option = JSON.parse(figure.dataset.chart);
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    option.tooltip = { ...option.tooltip, renderMode: "richText" };
    option.animation = !still;
    option.textStyle = { fontFamily: getComputedStyle(document.body).fontFamily };
    const chart = echarts.init(figure, null, { renderer: "canvas" });
    chart.setOption(option);
    // A part of a chart may lead to a page of this console.
    chart.on("click", (event) => {
      const link = event.data && event.data.link;
      if (typeof link === "string" && /^\/(?![/\\])/.test(link)) window.location.assign(link);
    });
    new ResizeObserver(() => chart.resize()).observe(figure);
  }
});
