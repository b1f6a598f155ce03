# Windows twin of scripts/test: .\scripts\test.ps1 tests\core -k probe
# Written to the same steps; parsed, but not yet run on Windows by us.
$ErrorActionPreference = "Stop"
$repository = Split-Path $PSScriptRoot -Parent
. (Join-Path $PSScriptRoot "environment.ps1")
Install-Environment -Repository $repository -Requirements "requirements-dev.txt"
Set-Location $repository
$python = Join-Path $repository ".venv\Scripts\python.exe"
$rest = @($args)
if ($rest.Count -gt 0 -and $rest[0] -eq "--all") {
    $rest = @($rest | Select-Object -Skip 1)
    & $python -m pytest -n 2 @rest
} else {
    & $python -m playwright install chromium *> $null
    & $python -m pytest -n 2 -m "not slow" @rest
}
exit $LASTEXITCODE
