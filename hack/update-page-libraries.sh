#!/usr/bin/env bash
# Fetch, from the npm registry, the libraries that pages are made and tested with, at the versions below, with their
# licences. They are checked in: a page is one file that needs no network, and so does its test.
set -euo pipefail
cd "$(dirname "$0")/.."
uplot=1.6.32    # MIT; draws the plots of plimsoll's pages
axe=4.14.1      # MPL-2.0; finds what keeps people from using a page; in tests only

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "uplot@$uplot" "axe-core@$axe" >/dev/null)
mkdir "$work/uplot" "$work/axe"
tar -xzf "$work/uplot-$uplot.tgz" -C "$work/uplot"
tar -xzf "$work/axe-core-$axe.tgz" -C "$work/axe"
cp "$work/uplot/package/dist/uPlot.iife.min.js" "$work/uplot/package/dist/uPlot.min.css" cmd/plimsoll/page/
cp "$work/uplot/package/LICENSE" cmd/plimsoll/page/uPlot.LICENSE
cp "$work/axe/package/axe.min.js" cmd/plimsoll/testdata/axe.min.js
cp "$work/axe/package/LICENSE" cmd/plimsoll/testdata/axe.LICENSE
