"""Options of a quick training."""

QUICK = ("-o", "Global.epochs=1", "-o", "Global.use_visualdl=false", "--device", "cpu")
