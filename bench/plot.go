package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// panel is one chart of the plot.
type panel struct {
	title, work string
	metric      metric
}

// panels are the works that tell most.
func panels(s scale) []panel {
	return []panel{
		{"GET /v2/, keep-alive: requests/s (more is better)", requestName(ping, keepAlive), rate},
		{"GET /v2/, new connections: requests/s (more is better)", requestName(ping, newConnection), rate},
		{"manifest GET, keep-alive: requests/s (more is better)", requestName(manifestGet, keepAlive), rate},
		{"pull of " + sizeName(s.large) + ": CPU s/GiB (less is better)", pullName(s.large, keepAlive, 1), cpuGiB},
		{"push of " + sizeName(s.large) + ": CPU s/GiB (less is better)", pushName(s.large, 0), cpuGiB},
		{"good user under attack: median, ms (less is better)", attackName, goodMedian},
	}
}

var (
	peerColor = color.RGBA{R: 0xa0, G: 0xa8, B: 0xb4, A: 0xff}
	oursColor = color.RGBA{R: 0x1f, G: 0x8a, B: 0x70, A: 0xff}
)

// measured returns the panels of which there is something to draw.
func measured(all []panel, names []string, r *results) []panel {
	return slices.DeleteFunc(slices.Clone(all), func(p panel) bool {
		return !slices.ContainsFunc(names, func(name string) bool {
			return !math.IsNaN(r.median(p.work, p.metric.name, name))
		})
	})
}

// writePlot draws the medians of some works as bars into an SVG file.
func writePlot(path string, all []panel, names []string, r *results) error {
	const columns = 2
	rows := (len(all) + columns - 1) / columns
	canvas := vgsvg.New(26*vg.Centimeter, vg.Length(rows)*7*vg.Centimeter)
	tiles := draw.Tiles{Rows: rows, Cols: columns, PadX: vg.Centimeter, PadY: vg.Centimeter / 2, PadLeft: vg.Centimeter / 2, PadRight: vg.Centimeter / 2}
	area := draw.New(canvas)
	for i, p := range all {
		chart, err := chart(p, names, r)
		if err != nil {
			return fmt.Errorf("drawing %s: %w", p.title, err)
		}
		chart.Draw(tiles.At(area, i%columns, i/columns))
	}
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	// Few machines have the font that the text was measured with.
	content := bytes.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans,Arial,sans-serif"))
	return os.WriteFile(path, content, 0o644) //nolint:gosec // for everybody to read
}

// chart makes one panel, the first name at its top.
func chart(p panel, names []string, r *results) (*plot.Plot, error) {
	chart := plot.New()
	for _, style := range []*text.Style{&chart.Title.TextStyle, &chart.X.Tick.Label, &chart.Y.Tick.Label} {
		style.Font.Variant = "Sans"
		style.Font.Size = 9
	}
	chart.Title.TextStyle.Font.Size = 11
	chart.Title.Padding = vg.Points(8)
	chart.Y.Padding = vg.Points(6)
	chart.Title.Text = p.title
	chart.X.Min = 0
	names = slices.Clone(names)
	slices.Reverse(names)

	var most float64
	peers, mine := make(plotter.Values, len(names)), make(plotter.Values, len(names))
	labels := plotter.XYLabels{}
	for i, name := range names {
		value := r.median(p.work, p.metric.name, name)
		if math.IsNaN(value) {
			labels.XYs, labels.Labels = append(labels.XYs, plotter.XY{Y: float64(i)}), append(labels.Labels, " –")
			continue
		}
		most = max(most, value)
		if slices.Contains(ours, name) {
			mine[i] = value
		} else {
			peers[i] = value
		}
		labels.XYs = append(labels.XYs, plotter.XY{X: value, Y: float64(i)})
		labels.Labels = append(labels.Labels, " "+number(value, p.metric.digits))
	}
	for _, set := range []struct {
		values plotter.Values
		color  color.Color
	}{{peers, peerColor}, {mine, oursColor}} {
		bars, err := plotter.NewBarChart(set.values, 10)
		if err != nil {
			return nil, err
		}
		bars.Horizontal = true
		bars.Color = set.color
		bars.LineStyle.Width = 0
		chart.Add(bars)
	}
	texts, err := plotter.NewLabels(labels)
	if err != nil {
		return nil, err
	}
	for i := range texts.TextStyle {
		texts.TextStyle[i].YAlign = text.YCenter
		texts.TextStyle[i].Font.Variant = "Sans"
		texts.TextStyle[i].Font.Size = 9
	}
	chart.Add(texts)
	chart.NominalY(names...)
	chart.X.Max = max(most, 1e-9) * 1.15 // with room for the last label
	return chart, nil
}
