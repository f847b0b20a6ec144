package auth

import (
	"fmt"
	"strings"

	"github.com/yeqown/go-qrcode/v2"
)

// quietZone is the white margin that readers of QR codes need, in modules (ISO/IEC 18004).
const quietZone = 4

// QRCode returns a QR code of text as an SVG image.
func QRCode(text string) (string, error) {
	code, err := qrcode.NewWith(text, qrcode.WithErrorCorrectionLevel(qrcode.ErrorCorrectionMedium))
	if err != nil {
		return "", fmt.Errorf("QR code: %w", err)
	}
	var svg svgWriter
	if err := code.Save(&svg); err != nil {
		return "", fmt.Errorf("QR code: %w", err)
	}
	return svg.text.String(), nil
}

// svgWriter is a qrcode.Writer that writes each row's runs of dark modules as rectangles of one path.
type svgWriter struct{ text strings.Builder }

func (s *svgWriter) Write(m qrcode.Matrix) error {
	size := m.Width() + 2*quietZone
	fmt.Fprintf(&s.text, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" shape-rendering="crispEdges">`+
		`<path fill="#fff" d="M0 0h%[1]dv%[2]dH0z"/><path d="`, size, size)
	for y, row := range m.Bitmap() {
		for x := 0; x < len(row); x++ {
			from := x
			for x < len(row) && row[x] {
				x++
			}
			if long := x - from; long > 0 {
				fmt.Fprintf(&s.text, "M%d %dh%dv1h-%dz", from+quietZone, y+quietZone, long, long)
			}
		}
	}
	s.text.WriteString(`"/></svg>`)
	return nil
}

func (s *svgWriter) Close() error { return nil }
