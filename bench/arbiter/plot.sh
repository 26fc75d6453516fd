#!/bin/bash
# Draws a trace under the arbiter into build/bench/arbiter-NAME.svg: demand, use and target of its first guests. Needs gnuplot.
#   bench/arbiter/plot.sh [tests/traces/moving-load.trace]
set -euo pipefail
cd "$(dirname "$0")/../.."
trace=${1:-tests/traces/moving-load.trace}
name=build/bench/arbiter-$(basename "$trace" .trace)
make --no-print-directory arbiter-bench
build/bench/arbiter/arbiter plot "$trace" >"$name.tsv"
gnuplot <<END
set terminal svg size 900,900
set output "$name.svg"
set multiplot layout 4,1
set xlabel "s"
set ylabel "MiB"
do for [i=0:3] {
	set title sprintf("guest %d", i)
	plot "$name.tsv" using 1:(column(2+3*i)) with steps title "working set", "" using 1:(column(3+3*i)) with lines title "use", \
		"" using 1:(column(4+3*i)) with steps title "target"
}
END
echo "$name.svg"
