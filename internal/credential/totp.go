package credential

import (
	"crypto/subtle"
	"fmt"
	"image"
	"image/color"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
)

const (
	// period is the life of a code; skew is how many periods a phone's clock may be off, each way. Both are RFC 6238's advice.
	period = 30
	skew   = 1
)

// NewTOTP makes a secret (base32) and its otpauth URL for an account's name.
func NewTOTP(account string) (secret, url string, err error) {
	key, err := totp.Generate(totp.GenerateOpts{Issuer: "p402", AccountName: account, Period: period, SecretSize: 20})
	if err != nil {
		return "", "", fmt.Errorf("make a one-time code's secret: %w", err)
	}
	return key.Secret(), key.URL(), nil
}

// Step is the period whose code was given, when it is later than the last one used; 0 says that the code is wrong or spent.
func Step(secret, code string, last int64, now time.Time) (int64, error) {
	code = strings.ReplaceAll(strings.TrimSpace(code), " ", "")
	found := int64(0)
	for d := int64(-skew); d <= skew; d++ {
		step := now.Unix()/period + d
		want, err := totp.GenerateCodeCustom(secret, time.Unix(step*period, 0), totp.ValidateOpts{Period: period, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err != nil {
			return 0, fmt.Errorf("compute a one-time code: %w", err)
		}
		if subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 && step > last {
			found = step
		}
	}
	return found, nil
}

// QR is an otpauth URL as the dark squares of a code: rows of columns, one module each.
func QR(url string) ([][]bool, error) {
	key, err := otp.NewKeyFromURL(url)
	if err != nil {
		return nil, err
	}
	const side = 256
	img, err := key.Image(side, side)
	if err != nil {
		return nil, fmt.Errorf("draw a QR code: %w", err)
	}
	return modules(img), nil
}

// modules reads the squares back out of a picture that was scaled up: the size of one is that of the finder's dark border.
func modules(img image.Image) [][]bool {
	b := img.Bounds()
	dark := func(x, y int) bool { return color.GrayModel.Convert(img.At(x, y)).(color.Gray).Y < 128 }
	left, top := b.Min.X, b.Min.Y
	for top < b.Max.Y && !rowHas(dark, b, top) {
		top++
	}
	for left < b.Max.X && !dark(left, top) {
		left++
	}
	run := 0
	for left+run < b.Max.X && dark(left+run, top) {
		run++
	}
	size := run / 7 // the finder pattern is seven squares wide
	if size == 0 {
		return nil
	}
	right := b.Max.X
	for right > left && !dark(right-1, top) {
		right--
	}
	n := (right - left) / size
	out := make([][]bool, n)
	for y := range out {
		out[y] = make([]bool, n)
		for x := range out[y] {
			out[y][x] = dark(left+x*size+size/2, top+y*size+size/2)
		}
	}
	return out
}

func rowHas(dark func(x, y int) bool, b image.Rectangle, y int) bool {
	for x := b.Min.X; x < b.Max.X; x++ {
		if dark(x, y) {
			return true
		}
	}
	return false
}
