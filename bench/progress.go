package bench

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// A Progress shows the progress of a measurement. It draws a bar on a terminal, and otherwise
// prints a line for every run.
type Progress struct {
	out      io.Writer
	terminal bool

	mu          sync.Mutex // guards what follows
	done, total int        // of the runs that are expected
	label       string
	began       time.Time
}

// Expect adds to the number of expected runs.
func (p *Progress) Expect(runs int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total, p.done, p.began = runs, 0, time.Now()
}

// Step shows the run that begins.
func (p *Progress) Step(label string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	p.label = label
	if p.terminal {
		p.draw()
	} else {
		fmt.Fprintln(p.out, p.place()+p.label)
	}
}

// place returns the number of the run and the number of all runs, once that is known.
func (p *Progress) place() string {
	if p.total == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d ", p.done, p.total)
}

// Say prints a line above the bar.
func (p *Progress) Say(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		fmt.Fprint(p.out, clearLine)
	}
	fmt.Fprintln(p.out, line)
}

const clearLine = "\r\x1b[K"

// draw draws the bar: the runs that are done, and the remaining time if the other runs take as
// long.
func (p *Progress) draw() {
	const width = 24
	bar, left := "", ""
	if p.total > 0 {
		before := p.done - 1
		full := width * before / p.total
		bar = "[" + strings.Repeat("#", full) + strings.Repeat("-", width-full) + "] "
		if before > 0 {
			each := time.Since(p.began) / time.Duration(before)
			left = fmt.Sprintf(", %v left", (each * time.Duration(p.total-before)).Round(time.Second))
		}
	}
	fmt.Fprint(p.out, clearLine, bar, p.place(), p.label, left)
}

// end removes the bar. The next output begins on an empty line.
func (p *Progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		fmt.Fprint(p.out, clearLine)
	}
	p.total = 0
}
