# Sourced by run.ps1 and test.ps1: keeps .venv in step with the pinned requirements.
function Install-Environment {
    param([string]$Repository, [string]$Requirements)
    $venv = Join-Path $Repository ".venv"
    $python = Join-Path $venv "Scripts\python.exe"
    $pins = Join-Path $Repository $Requirements
    $stamp = Join-Path $venv (".installed-" + $Requirements)
    $wanted = (Get-FileHash $pins).Hash + (Get-FileHash (Join-Path $Repository "pyproject.toml")).Hash
    if ((Test-Path $stamp) -and ((Get-Content $stamp) -eq $wanted)) { return }
    if (-not (Test-Path $python)) {
        $launcher = if (Get-Command py -ErrorAction SilentlyContinue) { @("py", "-3") } else { @("python") }
        & $launcher[0] @($launcher | Select-Object -Skip 1) -m venv $venv
        if ($LASTEXITCODE -ne 0) { throw "Python 3.11 or newer is needed: winget install Python.Python.3.13" }
    }
    & $python -m pip install --quiet --disable-pip-version-check uv
    & $python -m uv pip install --quiet --python $python --require-hashes -r $pins
    if ($LASTEXITCODE -ne 0) { throw "The pinned packages could not be installed." }
    & $python -m uv pip install --quiet --python $python --no-deps --editable $Repository
    if ($LASTEXITCODE -ne 0) { throw "The project could not be installed." }
    Set-Content $stamp $wanted
}
