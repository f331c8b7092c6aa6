"""How the pages look, beyond Streamlit's own options."""

from __future__ import annotations

CSS = """
<style>
[data-testid="stHeader"] {background: transparent; pointer-events: none; height: 0;}
.block-container {padding: 1rem 2rem 2rem; max-width: 1180px;}
h1 {font-size: 2rem !important; padding: .6rem 0 .4rem !important;}
h2 {font-size: 1.4rem !important;}
h3 {font-size: 1.15rem !important;}
.co2-banner {display: flex; flex-wrap: wrap; align-items: center; gap: .35rem .6rem;
  font-size: .95rem; line-height: 1.35;}
.co2-mark {font-weight: 700; border: 2px solid; border-radius: .3rem; padding: .05rem .45rem;
  font-size: .85rem;}
.co2-mark.recorded {color: #003d60; background: #e3f2fa;}
.co2-mark.stale, .co2-mark.missing {color: #7a2e00; background: #fdeadd;}
.co2-mark.fallback, .co2-mark.note {color: #5c4300; background: #fdf3d6;}
.co2-mark.fresh {color: #00573f; background: #e2f5ee;}
.co2-cards {margin-top: .4rem; display: grid;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 290px), 1fr));
  gap: .8rem;}
.co2-card {border: 1px solid #c9c9c9; border-radius: .5rem; padding: .8rem 1rem;
  background: #fff;}
.co2-card h2 {font-size: .95rem !important; font-weight: 600; margin: 0; padding: 0;
  color: #444;}
.co2-card .figure {font-size: 1.75rem; font-weight: 700; line-height: 1.25; margin: .15rem 0;
  font-variant-numeric: tabular-nums;}
.co2-card .unit {font-size: 1rem; font-weight: 500;}
.co2-card p {margin: .1rem 0 0; font-size: .92rem; line-height: 1.4;}
.co2-table {overflow-x: auto; max-height: 36rem; border: 1px solid #d5d5d5;
  border-radius: .4rem;}
.co2-table:focus-visible {outline: 3px solid #0072B2;}
.co2-table table {border-collapse: collapse; width: 100%; font-size: .88rem; margin: 0;}
.co2-table caption {caption-side: top; text-align: left; padding: .4rem .7rem; color: #444;
  font-size: .88rem;}
.co2-table th, .co2-table td {padding: .32rem .7rem; border-top: 1px solid #e6e6e6;
  text-align: left; vertical-align: top; white-space: nowrap;}
.co2-table thead th {background: #f3f3f1; font-weight: 600; white-space: normal;
  vertical-align: bottom;}
.co2-table thead th {position: sticky; top: 0; z-index: 1;}
.co2-table tbody th {font-weight: 500; background: #fff; position: sticky; left: 0;}
.co2-table .number {text-align: right; font-variant-numeric: tabular-nums;}
.co2-table .wide {white-space: normal; min-width: 16rem;}
.co2-facts {display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem;
  margin: 0 !important; padding: 0 !important;}
.co2-facts dt, .co2-facts dd {margin-left: 0 !important; padding: 0 !important;}
.co2-facts dt {font-weight: 600;}
.co2-facts dd {margin: 0; overflow-wrap: anywhere;}
.co2-footer {border-top: 1px solid #c9c9c9; padding-top: .7rem; margin-top: 1.5rem;
  font-size: .85rem; color: #444; line-height: 1.5;}
.co2-footer a {text-decoration: underline;}
.st-key-banner {position: sticky; top: 0; z-index: 90; background: #fff;
  padding: .35rem 0; border-bottom: 1px solid #c9c9c9;}
@media (max-width: 640px) {
  .block-container {padding: .5rem 1rem 2rem;}
  h1 {font-size: 1.55rem !important;}
  .co2-card .figure {font-size: 1.5rem;}
  .co2-facts {grid-template-columns: 1fr; gap: 0;}
  .co2-facts dd {margin-bottom: .5rem;}
  .st-key-banner {position: static;}
}
</style>
"""
