# Windows twin of scripts/run: .\scripts\run.ps1 --port 9000
# Written to the same steps; parsed, but not yet run on Windows by us.
$ErrorActionPreference = "Stop"
$repository = Split-Path $PSScriptRoot -Parent
. (Join-Path $PSScriptRoot "environment.ps1")
Install-Environment -Repository $repository -Requirements "requirements.txt"
& (Join-Path $repository ".venv\Scripts\ai-gateway.exe") serve @args
exit $LASTEXITCODE
