module github.com/hakone-gateway/hakone

go 1.26.0
