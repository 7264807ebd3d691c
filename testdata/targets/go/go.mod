module github.com/observatory-trace/observatory-trace/testdata/targets/go

go 1.22
